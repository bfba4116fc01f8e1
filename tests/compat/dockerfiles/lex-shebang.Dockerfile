#!/usr/bin/env docker
# escape=`
FROM scratch
LABEL a=b\
 c=d
