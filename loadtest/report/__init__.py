"""What people see of a run: tables, plots, pages."""
