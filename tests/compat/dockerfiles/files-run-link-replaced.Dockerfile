FROM corpus-tree
RUN ln -sf two /real/flink
RUN rm /real/flink && echo x > /real/flink
