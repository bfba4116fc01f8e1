FROM scratch
MAINTAINER Me <me@example.com>
