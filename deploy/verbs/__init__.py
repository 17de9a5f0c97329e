"""What a person can say on the command line, verb by verb."""
