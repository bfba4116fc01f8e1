FROM corpus-base
RUN <<A cat - && cat <<B
echo a
A
b
B
