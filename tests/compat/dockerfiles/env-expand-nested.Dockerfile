FROM scratch
ENV X=a
ENV A=${N:-${X}b${M:-c}} B=${X:+'$X'} C="${N:-"q q"}"
