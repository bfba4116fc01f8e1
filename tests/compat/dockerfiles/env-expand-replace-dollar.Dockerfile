FROM scratch
ENV X=aXb
ENV A=${X//X/\$0\$1} B=${X/X/\$0}
