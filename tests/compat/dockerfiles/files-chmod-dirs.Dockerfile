FROM corpus-tree
COPY --chmod=g+s,o+t d /d
COPY --chmod=go= sticky setgid d700 /e/
COPY --chmod=a=X setgid /real/
COPY --chmod=2770 p /f
