FROM corpus-base
ENV N=none
RUN --network=$N true
