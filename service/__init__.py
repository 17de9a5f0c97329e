"""Turns HTTP bodies into boxes: the detector service of Framefleet."""
