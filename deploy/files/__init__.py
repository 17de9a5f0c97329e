"""[Fleet] -> the text of its configuration files, and those files read back."""
