FROM corpus-tree
RUN --mount=type=secret,id=none cat /run/secrets/none 2>/dev/null; ls -R /run > /seen
