"""What keeps a fleet alive between deploys: reviver, probers, the waiting room, nginx's own starter."""
