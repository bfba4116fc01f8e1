FROM scratch
ADD t.tar /
