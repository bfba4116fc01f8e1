"""The language of Dockerfiles: pure functions from text to what a build has to do; nothing here touches a disk."""
