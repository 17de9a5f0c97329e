"""Pieces that every protocol describes itself with in the OpenAPI document."""
