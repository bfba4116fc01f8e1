FROM corpus-tree
RUN --mount=target=/ctx cp -a /ctx/suid /ctx/owned /ctx/d700 /ctx/sticky /ctx/h /ctx/link /
