"""The protocol of DeepStack and CodeProject.AI."""
