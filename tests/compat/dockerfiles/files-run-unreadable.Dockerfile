FROM corpus-tree
RUN echo x > /secret && chmod 0 /secret && mkdir -m 0 /closed && touch /closed/x
