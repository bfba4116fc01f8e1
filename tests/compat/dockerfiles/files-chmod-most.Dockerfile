FROM scratch
COPY --chmod=7755 exe /f
FROM scratch
COPY --from=0 --chmod=-t /f /c0
COPY --from=0 --chmod=-s /f /c1
COPY --from=0 --chmod=-st /f /c2
COPY --from=0 --chmod=u-s /f /c3
COPY --from=0 --chmod=g-s /f /c4
COPY --from=0 --chmod=u-t /f /c5
COPY --from=0 --chmod=o-t /f /c6
COPY --from=0 --chmod==r /f /c7
COPY --from=0 --chmod=u=r /f /c8
COPY --from=0 --chmod=g=r /f /c9
COPY --from=0 --chmod=o=r /f /c10
COPY --from=0 --chmod=a=r /f /c11
COPY --from=0 --chmod== /f /c12
COPY --from=0 --chmod=u= /f /c13
COPY --from=0 --chmod=a= /f /c14
COPY --from=0 --chmod==s /f /c15
COPY --from=0 --chmod==t /f /c16
COPY --from=0 --chmod==x /f /c17
COPY --from=0 --chmod=go= /f /c18
COPY --from=0 --chmod=-x /f /c19
COPY --from=0 --chmod=u-st /f /c20
COPY --from=0 --chmod=ugo=r /f /c21
COPY --from=0 --chmod=uo=r /f /c22
COPY --from=0 --chmod==g /f /c23
COPY --from=0 --chmod==o /f /c24
COPY --from=0 --chmod=u=o /f /c25
COPY --from=0 --chmod=a=u /f /c26
COPY --from=0 --chmod=g=g /f /c27
COPY --from=0 --chmod=+g /f /c28
COPY --from=0 --chmod=-g /f /c29
COPY --from=0 --chmod=-u /f /c30
COPY --from=0 --chmod=u-u /f /c31
COPY --from=0 --chmod==u+s /f /c32
COPY --from=0 --chmod=u+o /f /c33
