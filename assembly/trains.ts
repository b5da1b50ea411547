/** False in a build that only infers, whose entry defines INFERS: what gradients alone take is left out of it. */
export const TRAINS: bool = !isDefined(INFERS);
