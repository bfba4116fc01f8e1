# check=foo=bar
FOO
