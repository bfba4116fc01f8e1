FROM corpus-tree
RUN echo x >> /real/capable
