FROM scratch
CMD [NaN]
