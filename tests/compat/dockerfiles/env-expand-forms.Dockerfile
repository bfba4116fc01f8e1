FROM scratch
ENV X=foo.tar.gz E=
ENV A=${X%.*} B=${X%%.*} C=${X#*.} D=${X##*.} F=${X/o/0} G=${X//o/0} H=${UNSET:-d} I=${UNSET-d} J=${E:-d} K=${E-d} L=${X:+s} M=${X+s} O=${UNSET+s} P=${E:+s} Q=${E+s}
