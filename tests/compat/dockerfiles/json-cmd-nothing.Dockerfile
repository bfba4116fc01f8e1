FROM scratch
CMD
