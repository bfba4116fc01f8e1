FROM corpus-tree
ENV X=1
ARG Y=2
RUN env | grep -v ^HOSTNAME= | sort > /env; hostname > /host; cat /proc/self/status | grep -E "^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Groups|Umask)" > /status
