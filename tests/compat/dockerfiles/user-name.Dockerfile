FROM scratch
USER foo:bar
