FROM corpus-tree
COPY h /h1
COPY h hard /h2/
COPY h/one h/two /h3/
