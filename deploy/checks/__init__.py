"""Looks whether what is planned can run, and what runs answers rightly; changes nothing."""
