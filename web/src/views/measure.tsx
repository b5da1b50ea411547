export function Measure() { return <h1>Measure</h1>; }
