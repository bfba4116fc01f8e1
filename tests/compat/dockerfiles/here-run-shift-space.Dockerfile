FROM corpus-base
RUN echo $((1 << 2))
