FROM corpus-base
ARG A=1
ARG C=3
ARG A=2
RUN echo $A
