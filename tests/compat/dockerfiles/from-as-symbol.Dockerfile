FROM scratch AS o/ne
