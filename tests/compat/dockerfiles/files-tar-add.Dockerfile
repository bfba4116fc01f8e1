FROM scratch
ADD t.tar /o/
ADD a.txt /f
ADD --chown=3 own /p
