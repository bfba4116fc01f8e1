FROM ${base:-scratch}
