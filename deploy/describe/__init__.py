"""Options and fleet.toml -> what runs on one machine, [Fleet]."""
