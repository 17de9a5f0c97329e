# The names of pycuda 2026.1 that this project uses are in driver.pyi.
