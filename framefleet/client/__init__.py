"""The client: frames from a video, folder or camera -> sender -> answers in order -> files, windows, lines."""
