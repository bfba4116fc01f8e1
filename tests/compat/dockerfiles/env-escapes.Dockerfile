FROM scratch
ENV A=a\b B="a\b" C="a\"b" D='a\b' E=\"x\" F=a\\b
