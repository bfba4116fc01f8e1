FROM corpus-tree
COPY ./a.txt /n1/./x/../y
COPY d/../a.txt /n2
COPY /a.txt /n3
COPY ../a.txt /n4
