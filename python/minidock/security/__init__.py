"""What a container may do: capabilities, seccomp profiles, security options, subordinate ids. Pure but for the host's
own facts (its capabilities, /etc/subuid) and the cache of compiled filters."""
