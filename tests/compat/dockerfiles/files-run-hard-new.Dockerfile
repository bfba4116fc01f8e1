FROM corpus-tree
RUN mkdir /h && cd /h && echo x > a && ln a b && ln a /c && ln -s a s && ln s s2 2>/dev/null || true
