FROM corpus-base
RUN echo a && \
  echo b
