FROM corpus-base
ARG A=1
ARG B
ENV A=2
RUN echo $A
