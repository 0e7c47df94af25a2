// The sizes of a convolution; with fewer than three dimensions the first lengths are 1, of the padding 0.

struct Geometry {
    int image[3], windows[3], kernel[3], stride[3], padding[3], dilation[3];
    int samples, groups, filters, channels;  // filters and channels of one group
};
