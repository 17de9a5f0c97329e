"""The peers, each as its own documents set it up; they run in their own environments and import nothing of ours."""
