// The numbers of one channel, counted through all samples, that belong to a part.
struct Part {
    INDEX channel, begin, end, plane, channels;

    __device__ Part(INDEX block, INDEX channels, INDEX plane, INDEX samples, INDEX parts)
        : channel(block / parts), plane(plane), channels(channels)
    {
        const INDEX all = samples * plane, size = (all + parts - 1) / parts;
        begin = block % parts * size;
        end = begin + size < all ? begin + size : all;
    }

    __device__ INDEX at(INDEX i) const { return (i / plane * channels + channel) * plane + i % plane; }
};
