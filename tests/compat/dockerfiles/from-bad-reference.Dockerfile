FROM Upper:tag
