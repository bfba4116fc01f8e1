FROM scratch
ENV X=a*b?c/d}e
ENV A=${X#*\*} B=${X%\?*} C=${X/\//_} D=${X%\}*} F=${X//[ab]/_}
