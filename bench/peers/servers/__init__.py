"""The peers, each as its own documentation sets it up; they run in their own environments and import nothing of ours."""
